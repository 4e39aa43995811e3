// The API's documents, for people: Swagger UI shows the one, a few lines here the other.

import { element } from "./rows.js";

window.SwaggerUIBundle({ url: "/openapi.json", dom_id: "#rest", deepLinking: true, tryItOutEnabled: true });
showStream(await (await fetch("/asyncapi.json")).json());

function showStream({ channels, operations, components }) {
  document.getElementById("about").textContent = channels.events.description.replace(/(?<!\n)\n(?!\n)/g, " ");
  for (const { action, summary, messages } of Object.values(operations)) {
    const list = element("dl");
    for (const { $ref } of messages) {
      const { title, description = "", examples } = components.messages[$ref.split("/").pop()];
      list.append(element("dt", {}, title), element("dd", {}, description.replace(/\s+/g, " ")));
      for (const { payload } of examples) list.append(element("dd", {}).appendChild(element("pre", {}, JSON.stringify(payload))).parentNode);
    }
    document.getElementById("operations").append(element("h3", {}, action === "send" ? `From the tracker: ${summary}` : `To the tracker: ${summary}`), list);
  }
}
