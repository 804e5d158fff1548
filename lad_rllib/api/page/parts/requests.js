// The latest requests. The list stands still while someone points at it or has the focus in it.

import { asked, clock, seconds, short } from "../format.js";
import { html, useRef, useState } from "../vendor/htm-preact.js";

const SHOWN = 12;

function outcome({ done }) {
  if (!done) return ["open", "in flight"];
  return done.error ? ["failed", done.error] : ["answered", seconds(done.delay_s)];
}

function Row({ request, isSelected, onSelect }) {
  const [kind, words] = outcome(request);
  return html`
    <li>
      <button type="button" class="row" aria-pressed=${isSelected} onClick=${() => onSelect(request.id)}>
        <span class="time">${clock(request.t)}</span>
        <span class="id">${short(request.id)}</span>
        <span class="asked">${asked(request)}</span>
        <span class="to">${request.server ?? "–"}</span>
        <span class=${`outcome ${kind}`}>${words}</span>
      </button>
    </li>
  `;
}

export function Requests({ requests, selected, onSelect }) {
  const [isHeld, hold] = useState(false);
  const held = useRef([]);
  if (!isHeld) held.current = requests.slice(0, SHOWN).map((request) => request.id);
  const now = new Map(requests.map((request) => [request.id, request]));
  const shown = held.current.map((id) => now.get(id)).filter(Boolean);
  const newer = requests.findIndex((request) => request.id === held.current[0]);
  return html`
    <section class="card" aria-labelledby="requests">
      <h2 id="requests">Requests</h2>
      <p class="hint">
        ${isHeld && newer > 0 ? `Held while you are in the list: ${newer} newer.` : "Choose one to see why it went there."}
      </p>
      ${shown.length === 0 && html`<p class="empty">No requests yet.</p>`}
      <ul
        class="requests"
        onMouseEnter=${() => hold(true)}
        onMouseLeave=${() => hold(false)}
        onfocusin=${() => hold(true)}
        onfocusout=${({ currentTarget, relatedTarget }) => hold(currentTarget.contains(relatedTarget))}
      >
        ${shown.map(
          (request) => html`
            <${Row}
              key=${request.id}
              request=${request}
              isSelected=${request.id === selected?.id}
              onSelect=${onSelect}
            />
          `,
        )}
      </ul>
    </section>
  `;
}
