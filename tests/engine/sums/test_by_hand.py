"""A masked vector worked out again from the protocol's words, with other libraries than the engine's."""

import os
from hashlib import blake2b

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sum_world import World
from test_words import mask_of

from podsql.messages import encode


def digest(use, body, key=b""):
    return blake2b(body, digest_size=32, key=key, person=use).digest()


def public(secret):
    return secret.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


@pytest.mark.parametrize("word", [64, 128])
def test_a_masked_vector_is_what_the_page_says(word):
    drawn = {}
    draws = {
        f"pod{at:02d}": lambda size, at=at: (
            drawn.setdefault(at, []).append(os.urandom(size)) or drawn[at][-1]
        )
        for at in range(4)
    }
    world = World(4, word=word, parts=((3, 0), (2, 8)), draws=draws)
    world.meet()
    figures = {pod: (11, ([-1, 0, 2**50], [0.5, -2.25])) for pod in world.names}
    masked = world.mask(world.deal(), figures, asked=b"this")
    secrets = [X25519PrivateKey.from_private_bytes(drawn[at][0]) for at in range(4)]
    job = digest(b"ps-sum-job", encode(world.told))
    for at, pod in enumerate(world.names):
        wanted = [11, -1, 0, 2**50, 128, -576]
        masks = [(1, drawn[at][1])]
        for other in range(4):
            if other == at:
                continue
            keys = sorted([public(secrets[at]), public(secrets[other])])
            peer = X25519PublicKey.from_public_bytes(public(secrets[other]))
            root = digest(b"ps-sum-root", job + b"".join(keys), secrets[at].exchange(peer))
            seed = digest(b"ps-sum-pair", (1).to_bytes(8), root)
            masks.append((1 if at < other else -1, digest(b"ps-sum-asked", b"this", seed)))
        for sign, seed in masks:
            mask = mask_of(seed, word, len(wanted))
            wanted = [cell + sign * number for cell, number in zip(wanted, mask, strict=True)]
        low = b"".join((cell % 2**64).to_bytes(8, "little") for cell in wanted)
        high = b"".join((cell % 2**128 >> 64).to_bytes(8, "little") for cell in wanted)
        assert masked[pod].vector == low + (high if word == 128 else b"")
