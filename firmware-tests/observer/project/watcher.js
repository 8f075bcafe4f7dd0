// hears of every change of a count of tens, each of which goes on from the one
// before.
export default (event, { state }) => {
  const { old, new: now } = event.data;
  const key = event.params.publisher;
  const s = state.get(key) ?? { count: 0, broken: 0 };
  if ((old ?? 0) !== s.count || now !== s.count + 1) s.broken++;
  s.count = now;
  state.set(key, s);
};
