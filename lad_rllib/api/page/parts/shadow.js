// Shadow replay: what other schedulers would have done with the latest requests and the same outages.

import { percent, seconds } from "../format.js";
import { html } from "../vendor/htm-preact.js";

function Table({ told }) {
  const best = Math.min(...told.rows.map((row) => row.mean_s));
  return html`
    <table class="replays">
      <caption class="hint">
        ${told.requests} requests, ${told.outages} ${told.outages === 1 ? "outage" : "outages"}. The present scheduler
        played again differs from reality by the simulator's error.
      </caption>
      <thead>
        <tr>
          <th scope="col">Scheduler</th>
          <th scope="col">Mean</th>
          <th scope="col">p95</th>
          <th scope="col">p99</th>
          <th scope="col">In time</th>
        </tr>
      </thead>
      <tbody>
        ${told.rows.map(
          (row) => html`
            <tr key=${row.scheduler} class=${row.mean_s === best ? "best" : ""}>
              <th scope="row">${row.scheduler}</th>
              <td>${seconds(row.mean_s)}</td>
              <td>${seconds(row.p95_s)}</td>
              <td>${seconds(row.p99_s)}</td>
              <td>${percent(row.slo)}</td>
            </tr>
          `,
        )}
      </tbody>
    </table>
  `;
}

export function Shadow({ shadow, onAsk }) {
  const { isAsked, told, problem } = shadow;
  return html`
    <section class="card" aria-labelledby="shadow">
      <div class="title">
        <h2 id="shadow">Other schedulers</h2>
        <button type="button" class="small" disabled=${isAsked} onClick=${onAsk}>
          ${isAsked ? "Playing …" : "Play the latest requests"}
        </button>
      </div>
      <p class="hint">What they would have done with the same requests and the same outages, by the simulator.</p>
      <div role="status">
        ${problem && html`<p class="problem">${problem}</p>`}
        ${told && told.rows.length === 0 && html`<p class="empty">There are too few requests yet: ${told.requests}.</p>`}
      </div>
      ${told && told.rows.length > 0 && html`<${Table} told=${told} />`}
    </section>
  `;
}
