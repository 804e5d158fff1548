// The figures of the last minutes, one tile each.

import { number, percent, seconds } from "../format.js";
import { html } from "../vendor/htm-preact.js";

export function Figures({ state }) {
  const figures = [
    ["Load", number(state?.load), "work that came over what the fleet could do"],
    ["In flight", state?.in_flight ?? "–", "requests that have come and not ended"],
    ["p50", seconds(state?.p50_s), "median delay"],
    ["p95", seconds(state?.p95_s), "95th percentile of the delay"],
    ["p99", seconds(state?.p99_s), "99th percentile of the delay"],
    ["In time", percent(state?.slo), "share of the requests that met their deadline or the service's aim"],
  ];
  return html`
    <section aria-label="Figures">
      <dl class="figures">
        ${figures.map(
          ([name, value, meaning]) => html`
            <div key=${name} title=${meaning}>
              <dt>${name}</dt>
              <dd>${value}</dd>
            </div>
          `,
        )}
      </dl>
    </section>
  `;
}
