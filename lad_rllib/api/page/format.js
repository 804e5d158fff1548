// Numbers as people read them.

const DASH = "–";

/** Seconds with three digits that count: 0.042 s, 1.27 s, 12.3 s, 347 s. */
export function seconds(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return DASH;
  const size = Math.abs(value);
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 0.1 || size === 0 ? 2 : 3;
  return `${value.toFixed(digits)}\u00a0s`;
}

/** A share in percent; all of it only if it is all of it. */
export function percent(share) {
  if (share === null || share === undefined) return DASH;
  const value = 100 * share;
  return `${share < 1 && value > 99.9 ? "99.9" : value.toFixed(share === 1 || share === 0 ? 0 : 1)}\u00a0%`;
}

/** A plain number. */
export function number(value, digits = 2) {
  return value === null || value === undefined ? DASH : value.toFixed(digits);
}

/** Time of day, such as 09:41:07, of a time in seconds since 1970. */
export function clock(t) {
  return new Date(1000 * t).toTimeString().slice(0, 8);
}

/** The end of a long id, enough to tell one request from another. */
export function short(id) {
  return id.slice(-6);
}

/** What a request asks for: its size and steps. */
export function asked(request) {
  return [request.size.replace("x", "×"), `${request.steps} steps`].filter(Boolean).join(", ");
}

/** The next number of 1, 2, 5, 10, 20, ... that is not less. */
export function roundUp(value) {
  const unit = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * unit).find((end) => end >= value * (1 - 1e-9));
}
