let calls = 0; // must be 0 at the start of every invocation

export default (event, { state, publish, enqueue, config }) => {
  if (calls++ !== 0) state.set("dirty", calls - 1);
  const { n } = event.data;
  const key = event.params.publisher;
  const s = state.get(key) ?? { count: 0, ranges: [] };
  s.count++;
  s.ranges = insert(s.ranges, n);
  state.set(key, s);
  if (config.tens && s.count % 10 === 0) {
    // Every tenth event starts others, through a queue and through a key.
    const ten = s.count / 10;
    enqueue("tens", { publisher: key, ten });
    state.set(`tens/${key}`, ten);
  }
  publish(`out/${key}`, { n }, { qos: 2 });
  if (n % 100 === 0) linger();
};

// linger takes longer than an event may hold its publisher up.
const linger = () => {
  for (let i = 0, x = 1; i < 1_000_000; i++) x = (x * 31) % 65521;
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
