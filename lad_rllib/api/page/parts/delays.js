// The percentiles of the delay over time, drawn by uPlot (loaded before this module, as a global).

import { clock } from "../format.js";
import { html, useEffect, useRef } from "../vendor/htm-preact.js";

const HEIGHT = 220;
const LINES = [
  ["p50", "--line-1", []],
  ["p95", "--line-2", [6, 3]],
  ["p99", "--line-3", [2, 3]],
];

function makeChart(place, history) {
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const axis = { stroke: color("--muted"), grid: { stroke: color("--rule"), width: 1 }, ticks: { show: false } };
  const options = {
    width: place.clientWidth,
    height: HEIGHT,
    cursor: { y: false },
    scales: { y: { range: (chart, low, high) => [0, Math.max(1.05 * (high ?? 0), 0.1)] } },
    axes: [
      { ...axis, size: 30, space: 90, values: (chart, times) => times.map(clock) },
      { ...axis, label: "delay [s]", labelSize: 18, size: 44 },
    ],
    series: [
      { value: (chart, t) => (t === null ? "–" : clock(t)) },
      ...LINES.map(([label, stroke, dash]) => ({
        label,
        stroke: color(stroke),
        dash,
        width: 2,
        points: { show: false },
        value: (chart, value) => (value === null || value === undefined ? "–" : `${value.toFixed(2)} s`),
      })),
    ],
  };
  return new uPlot(options, history, place);
}

export function Delays({ history }) {
  const place = useRef(null);
  const chart = useRef(null);
  useEffect(() => {
    const begin = () => {
      chart.current?.destroy();
      chart.current = makeChart(place.current, history);
    };
    const size = new ResizeObserver(() => chart.current.setSize({ width: place.current.clientWidth, height: HEIGHT }));
    const dark = matchMedia("(prefers-color-scheme: dark)");
    begin();
    size.observe(place.current);
    dark.addEventListener("change", begin);
    return () => {
      size.disconnect();
      dark.removeEventListener("change", begin);
      chart.current.destroy();
    };
  }, []);
  const end = history[0].at(-1);
  useEffect(() => chart.current.setData(history), [end]);
  return html`
    <section class="card" aria-labelledby="delays">
      <h2 id="delays">Delays</h2>
      <p class="hint">Of the requests of the last five minutes, since this page was opened.</p>
      <div ref=${place} class="chart" role="img" aria-label="Median, 95th and 99th percentile of the delay over time"></div>
    </section>
  `;
}
