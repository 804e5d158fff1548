// Why there: what was predicted of a request on each server when it came, and what it would have cost the others.

import { asked, seconds, short } from "../format.js";
import { html } from "../vendor/htm-preact.js";

function Result({ request }) {
  const { done } = request;
  if (!done) return html`<p>It is in flight.</p>`;
  const tries = done.attempts > 1 ? `, after ${done.attempts} attempts` : "";
  const waited = done.waiting_s === null ? "" : `, of which it waited ${seconds(done.waiting_s)}`;
  if (done.error) return html`<p>It failed: ${done.error}${tries}.</p>`;
  return html`<p>
    It took <strong>${seconds(done.delay_s)}</strong>${waited}${tries}.
  </p>`;
}

function Table({ request }) {
  const predicted = request.predicted_s ?? {};
  const added = request.added_s;
  const total = (name) => predicted[name] + (added?.[name] ?? 0);
  const names = Object.keys(predicted).sort((a, b) => total(a) - total(b));
  const end_s = Math.max(...names.map(total), 1e-9);
  const width = (value) => ({ width: `${(100 * value) / end_s}%` });
  return html`
    <table class="predictions">
      <caption class="hint">
        Predicted when it came; bars: its own delay, and what it would have added to others.
      </caption>
      <thead>
        <tr>
          <th scope="col">Server</th>
          <th scope="col" class="bars"><span class="unseen">Both as bars</span></th>
          <th scope="col">Delay</th>
          ${added && html`<th scope="col">Others</th>`}
        </tr>
      </thead>
      <tbody>
        ${names.map(
          (name) => html`
            <tr key=${name} class=${name === request.server ? "chosen" : ""}>
              <th scope="row">${name}${name === request.server && html` <span class="mark">chosen</span>`}</th>
              <td class="bars">
                <span class="own" style=${width(predicted[name])}></span
                ><span class="others" style=${width(added?.[name] ?? 0)}></span>
              </td>
              <td class="figure">${seconds(predicted[name])}</td>
              ${added && html`<td class="figure">+${seconds(added[name])}</td>`}
            </tr>
          `,
        )}
      </tbody>
    </table>
  `;
}

export function Why({ request, onClose }) {
  return html`
    <section class="card" id="why" aria-labelledby="why-title">
      <div class="title">
        <h2 id="why-title">Why there</h2>
        ${request && html`<button type="button" class="small" onClick=${onClose}>Close</button>`}
      </div>
      ${request ? html`<${Answer} request=${request} />` : html`<p class="empty">No request is chosen.</p>`}
    </section>
  `;
}

function Answer({ request }) {
  const where = html`<strong>${request.server || "no server"}</strong>`;
  return html`
    <p role="status">
      Request ${short(request.id)} (${asked(request)}) went to ${where}${request.why && `: ${request.why}`}.
    </p>
    <${Result} request=${request} />
    <${Table} request=${request} />
  `;
}
