"""A model file of every family, as JSON and as safetensors: the model to the last bit, or no model."""

import json

import msgspec
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from podsql.analyst.training.shelf import Kept, read_model, write_model
from podsql.engine.training.fitted import Centres, Classes, Coefficients, Components, Fitted
from podsql.errors import Error

PARAMETERS = (
    Coefficients(
        link="logit",
        names=("(intercept)", "age"),
        estimates=(0.1, -1 / 3),
        covariance=(1.0, 5e-324, 5e-324, 1e308),
        dispersion=1.0,
        freedom=None,
        penalty=0.0,
        centre=(40.0,),
        scale=(0.1 + 0.2,),
        at_centre=-0.0,
    ),
    Centres(centres=((1.0, 2.0), (3.0, 4.5)), sizes=(3, 4), centre=(0.0, 0.0), scale=(1.0, 1.0)),
    Components(
        loadings=((0.6, 0.8),), variances=(2.0,), shares=(1.0,), correlation=(1.0, 0.5, 0.5, 1.0),
        centre=(1.0, 2.0), scale=(3.0, 4.0),
    ),
    Classes(
        classes=("a", "b"), sizes=(5, 6), log_prior=(-0.7, -0.7), numbers=(), means=((), ()),
        variances=((), ()), indicators=(0,), log_true=((-0.1,), (-0.2,)), log_false=((-3.0,), (-4.0,)),
    ),
)  # fmt: skip


def kept(parameters):
    fitted = Fitted(
        method="trial", terms=("age",), targets=("ill",), n=11, dropped=0, rounds=2,
        parameters=parameters, metrics={"deviance": 0.3}, trace=(2.5, 1 / 7),
    )  # fmt: skip
    return Kept(
        name="m", fitted=fitted, select="SELECT age, ill FROM t", features=(), targets=(), references=(),
        pods=("north",), data_versions={"north": "1"}, federation="f", purpose="p", project="", trained=1,
    )  # fmt: skip


@pytest.mark.parametrize("ending", ["json", "safetensors"])
@pytest.mark.parametrize("parameters", PARAMETERS, ids=lambda one: type(one).__name__)
def test_it_comes_back_to_the_last_bit(tmp_path, parameters, ending):
    file = tmp_path / f"m.{ending}"
    model = kept(parameters)
    write_model(model, file)
    again = read_model(file)
    assert again == model
    assert msgspec.msgpack.encode(again) == msgspec.msgpack.encode(model)
    assert file.stat().st_mode & 0o777 == 0o600


def test_others_read_the_tensors(tmp_path):
    file = tmp_path / "m.safetensors"
    write_model(kept(PARAMETERS[0]), file)
    tensors = load_file(file)
    assert tensors["estimates"].tolist() == [0.1, -1 / 3]
    assert tensors["covariance"].dtype == np.float64
    assert set(tensors) == {"estimates", "covariance", "centre", "scale"}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: b"\xff" * 8 + data[8:],
        lambda data: data.replace(b'"F64"', b'"U64"', 1),
        lambda data: data.replace(b"podsql.model/1", b"podsql.model/2"),
        lambda data: data.replace(b"coefficients/1", b"coefficients/2"),
    ],
    ids=["empty", "short", "length", "type", "version", "kind"],
)
def test_what_is_no_model_is_said(tmp_path, spoil):
    file = tmp_path / "m.safetensors"
    write_model(kept(PARAMETERS[0]), file)
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(Error) as caught:
        read_model(file)
    assert caught.value.code == "DATA"


@pytest.mark.parametrize(
    "card", ["[]", "{}", '{"fitted": 1}', json.dumps({"fitted": {"parameters": 1}}), "{"]
)
def test_tensors_of_others_are_no_model(tmp_path, card):
    file = tmp_path / "m.safetensors"
    save_file({"estimates": np.ones(2)}, file, metadata={"podsql.model/1": card})
    with pytest.raises(Error) as caught:
        read_model(file)
    assert caught.value.code == "DATA"
