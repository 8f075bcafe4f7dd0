// Takes an order, shows one, or notes what another function says of it. An
// order is known by the id that its sender gave it: the same one again, as a
// client sends it that heard no answer, is no second order.
export default (event, { state, config, enqueue, log }) => {
  if (event.request?.method === "GET") {
    const { id } = event.params;
    return state.get(`order/${id}`) ?? Response.json({ status: 404, detail: `there is no order ${id}` }, { status: 404 });
  }
  if (event.request === undefined) {
    const key = `order/${event.params.id}`;
    const order = state.get(key);
    if (order !== undefined) state.set(key, { ...order, ...event.data });
    return;
  }

  const { id, item, amount, card } = event.data;
  if (state.get(`order/${id}`) !== undefined) return log.info(`order ${id} again`);
  const price = Object.hasOwn(config.prices, item) ? config.prices[item] : undefined;
  let why;
  if (price === undefined) why = `there is no ${JSON.stringify(item ?? null)}`;
  else if (!Number.isInteger(amount) || amount < 1 || amount > 1000) why = "the amount is a number from 1 to 1000";
  else if (typeof card !== "string" || card === "") why = "there is no card";

  if (why !== undefined) return state.set(`order/${id}`, { status: "rejected", why });
  state.set(`order/${id}`, { status: "accepted", item, amount, total: amount * price });
  enqueue("orders/reserve", { id, item, amount, total: amount * price, card });
};
