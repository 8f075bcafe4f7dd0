// takes from the queue that counter fills: every ten once, in any order.
export default (event, { state }) => {
  const { publisher, ten } = event.data;
  const s = state.get(publisher) ?? { count: 0, sum: 0 };
  s.count++;
  s.sum += ten;
  state.set(publisher, s);
};
