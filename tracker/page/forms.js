// Two small forms: send an event, create an account.

import { ask } from "./api.js";

const $ = (id) => document.getElementById(id);

/** Show what is wrong with a field beside it; '' if nothing is. */
export function fieldError(id, text) {
  $(`${id}-error`).textContent = text;
  if (text) $(id).setAttribute("aria-invalid", "true");
  else $(id).removeAttribute("aria-invalid");
}

/** @param {import("./choice.js").Choice} choice of the accounts that are followed */
export function listenToForms(choice) {
  onSubmit("send", ["send-account", "send-data"], async (say) => {
    const account = $("send-account").value.trim();
    if (!account) return ["send-account", "Which account is it for? Expected its ID."];
    try {
      const type = $("send-json").checked ? "application/json" : "text/plain; charset=utf-8";
      const { headers } = await ask(`/${encodeURIComponent(account)}`, { method: "PUT", body: $("send-data").value, type });
      say(`Sent: ${headers.get("Event-Position")}`);
    } catch (problem) {
      const isAccount = problem.status === 404 || /account/i.test(problem.message);
      return [isAccount ? "send-account" : "send-data", problem.message];
    }
  });
  onSubmit("create", ["create-name"], async (say) => {
    try {
      const account = { Name: $("create-name").value, IsActive: $("create-active").checked };
      const { body } = await ask("/", { method: "POST", body: JSON.stringify(account) });
      say(`Created: account ${body.ID}`);
      $("create-name").value = "";
      if (!choice.isAll) choice.add([body.ID]);
    } catch (problem) {
      return ["create-name", problem.message];
    }
  });
}

/** `step` does it; it returns the field that is wrong and why, or nothing. */
function onSubmit(id, fields, step) {
  const form = $(id);
  const done = form.querySelector(".done");
  const button = form.querySelector("button");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    for (const field of fields) fieldError(field, "");
    done.textContent = "";
    button.disabled = true;
    const wrong = await step((text) => (done.textContent = text));
    button.disabled = false;
    if (wrong) {
      fieldError(...wrong);
      $(wrong[0]).focus();
    } else {
      button.focus();
    }
  });
}
