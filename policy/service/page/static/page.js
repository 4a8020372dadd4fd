// What makes forms nicer. Everything works without this file, but passkeys, which browsers give
// to scripts only.
"use strict";

const bytes = (text) =>
  Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer)))
    .replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
const fields = (form) => new URLSearchParams(new FormData(form));

// The menu is open beside the page, and closed above it.
const menu = document.querySelector("[data-menu]");
if (menu) {
  const beside = matchMedia("(min-width: 60rem)");
  const follow = () => { menu.open = beside.matches; };
  beside.addEventListener("change", follow);
  follow();
}

// What went wrong is read first.
document.querySelector("[data-focus]")?.focus();

// Filter the rows that are here while typing; the form still asks the whole list.
for (const input of document.querySelectorAll("[data-filter]")) {
  const table = document.getElementById(input.dataset.filter);
  if (!table) continue;
  input.addEventListener("input", () => {
    const wanted = input.value.trim().toLowerCase();
    for (const row of table.tBodies[0].rows) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
    }
  });
}

// Show what the editor finds while it is written.
for (const form of document.querySelectorAll("[data-live]")) {
  const target = document.getElementById(form.dataset.live);
  let waiting = 0;
  let running = null;
  const look = async () => {
    running?.abort();
    running = new AbortController();
    try {
      const reply = await fetch(form.dataset.check, {
        method: "POST", body: fields(form), signal: running.signal,
      });
      const page = new DOMParser().parseFromString(await reply.text(), "text/html");
      const found = page.getElementById(target.id);
      if (found) target.replaceChildren(...found.childNodes);
    } catch (fault) {
      if (fault.name !== "AbortError") target.textContent = "Nothing was checked: press Check.";
    }
  };
  form.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(look, 400);
  });
}

// Forms that act are sent once.
for (const form of document.querySelectorAll("form[method=post]:not([data-live])")) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
    setTimeout(() => delete form.dataset.sent, 4000);
  });
}

const plain = (credential) => {
  const { response } = credential;
  const sent = { clientDataJSON: text(response.clientDataJSON) };
  for (const name of ["attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (response[name]) sent[name] = text(response[name]);
  }
  return JSON.stringify({
    id: credential.id, rawId: text(credential.rawId), type: credential.type, response: sent,
  });
};

const ask = async (form) => {
  const reply = await fetch(form.dataset.passkey, { method: "POST", body: fields(form) });
  if (!reply.ok || !reply.headers.get("x-challenge")) throw new Error("not offered");
  const options = await reply.json();
  options.challenge = bytes(options.challenge);
  for (const list of [options.allowCredentials, options.excludeCredentials]) {
    for (const one of list ?? []) one.id = bytes(one.id);
  }
  if (options.user) options.user.id = bytes(options.user.id);
  const found = options.user
    ? await navigator.credentials.create({ publicKey: options })
    : await navigator.credentials.get({ publicKey: options });
  for (const [name, value] of [
    ["credential", plain(found)], ["challenge", reply.headers.get("x-challenge")],
  ]) {
    const input = form.querySelector(`input[name=${name}]`) ?? document.createElement("input");
    Object.assign(input, { type: "hidden", name, value });
    form.append(input);
  }
};

for (const form of document.querySelectorAll("form[data-passkey]")) {
  if (!window.PublicKeyCredential || !window.isSecureContext) continue;
  form.hidden = false;
  const wrong = form.querySelector("[role=alert]");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    wrong.hidden = true;
    try {
      await ask(form);
      const then = document.getElementById(form.dataset.then ?? "");
      if (!then) return form.submit();
      const reply = await fetch(form.action, { method: "POST", body: fields(form) });
      if (!reply.ok) throw new Error("not accepted");
      then.submit(); // not requestSubmit: the password that it also asks for stays empty
    } catch {
      wrong.textContent = "The passkey was not accepted. Try again, or another way.";
      wrong.hidden = false;
      delete form.dataset.sent;
    }
    return undefined;
  });
}
