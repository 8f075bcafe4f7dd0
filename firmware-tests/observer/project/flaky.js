let calls = 0; // must be 0 at the start of every invocation

export default (event, { state }) => {
  if (calls++ !== 0) state.set("dirty", calls - 1);
  const { n } = event.data;
  const key = event.params.publisher;
  const s = state.get(key) ?? { count: 0, disorder: 0, ranges: [] };
  const [first, last] = s.ranges[0] ?? [1, 0];
  s.count++;
  // In order means that every event follows the one before it. A gap is
  // closed only by an event that comes too late.
  if (n !== last + 1) s.disorder++;
  if (n > last) s.ranges = [[first, n]];
  state.set(key, s);
  if (Math.random() < 0.1) throw new Error("failing now and then is my job");
};
