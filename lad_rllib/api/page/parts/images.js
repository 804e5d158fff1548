// Images as they come.

import { seconds, short } from "../format.js";
import { html } from "../vendor/htm-preact.js";

export function Images({ requests, onSelect }) {
  return html`
    <section class="card wide" aria-labelledby="images">
      <h2 id="images">Images</h2>
      ${requests.length === 0 && html`<p class="empty">No images yet.</p>`}
      <ul class="images">
        ${requests.map(
          ({ id, server, done }) => html`
            <li key=${id}>
              <button type="button" onClick=${() => onSelect(id)}>
                <img src=${done.thumb} alt=${`Image of request ${short(id)}`} />
                <span>${server}, ${seconds(done.delay_s)}</span>
              </button>
            </li>
          `,
        )}
      </ul>
    </section>
  `;
}
