let calls = 0; // must be 0 at the start of every invocation

export default (event, { state }) => {
  if (calls++ !== 0) state.set("dirty", calls - 1);
  const { n } = event.data;
  const key = event.params.publisher;
  const s = state.get(key) ?? { count: 0, ranges: [] };
  s.count++;
  s.ranges = insert(s.ranges, n);
  state.set(key, s);
};

// insert adds n to a sorted list of [first, last] ranges.
const insert = (ranges, n) => {
  if (ranges.some(([a, b]) => n >= a && n <= b)) return ranges;
  const merged = [];
  for (const [a, b] of [...ranges, [n, n]].sort((x, y) => x[0] - y[0])) {
    const last = merged.at(-1);
    if (last && a <= last[1] + 1) last[1] = Math.max(last[1], b);
    else merged.push([a, b]);
  }
  return merged;
};
