// The head of the page: what decides, and whether what is shown is of now.

import { html } from "../vendor/htm-preact.js";

const WORDS = { connecting: "connecting", live: "live", lost: "feed lost", refused: "key needed" };

function notice(status, why) {
  if (status === "lost") return `The feed is lost: ${why}. Trying again.`;
  if (status === "refused") return `The service does not show what it does: ${why}. Give a key below.`;
  return "";
}

export function Status({ status, why, heard, policy, policyNotice }) {
  const text = notice(status, why);
  return html`
    <header>
      <h1>Image service</h1>
      <p class="policy">In charge: <strong>${policy ?? "–"}</strong></p>
      <p class=${`badge ${status}`} role="status">${WORDS[status]}</p>
    </header>
    <div class="notice wrong" hidden=${!text}>
      <p role="alert">${text}</p>
      ${heard > 0 && html`<p>What is shown is ${Math.round((Date.now() - heard) / 1000)} s old.</p>`}
    </div>
    <div class="notice" hidden=${!policyNotice}><p role="status">${policyNotice}</p></div>
  `;
}
