// The head of the page: which service, what decides, and whether what is shown is of now.

import { html } from "../vendor/htm-preact.js";

const WORDS = { connecting: "connecting", live: "live", lost: "feed lost", refused: "key needed" };

export function Status({ status, why, heard, policy }) {
  const age = heard ? ` The figures are ${Math.round((Date.now() - heard) / 1000)} s old.` : "";
  const lost = `The feed is lost: ${why}.${age} Trying again.`;
  const text = status === "lost" ? lost : status === "refused" ? `${why} Give one below.` : "";
  return html`
    <header>
      <h1>Image service</h1>
      <p class="policy">In charge: <strong>${policy ?? "–"}</strong></p>
      <p class=${`badge ${status}`} role="status">${WORDS[status]}</p>
    </header>
    <p class="notice" role="alert" hidden=${!text}>${text}</p>
  `;
}
