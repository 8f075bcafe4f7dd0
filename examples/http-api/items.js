const problem = (status, detail) => Response.json({ status, detail }, { status });

/** @type {import("./headgate").Handler} */
export default (event, { state }) => {
  const { method, params } = event.request;
  const key = `item/${params.id}`;
  switch (method) {
    case "GET":
      if (params.id === undefined) return state.list("item/").map((k) => ({ id: k.slice(5), ...state.get(k) }));
      return state.get(key) ?? problem(404, `there is no item ${params.id}`);
    case "POST": {
      const item = read(event);
      if (item === undefined) return problem(400, "an item is a JSON object");
      const id = (state.get("last") ?? 0) + 1;
      state.set("last", id);
      state.set(`item/${id}`, item);
      return Response.json({ id: String(id), ...item }, { status: 201, headers: { Location: `/items/${id}` } });
    }
    case "PUT": {
      const item = read(event);
      if (item === undefined) return problem(400, "an item is a JSON object");
      const there = state.get(key) !== undefined;
      state.set(key, item);
      return Response.json(item, { status: there ? 200 : 201 });
    }
    case "DELETE":
      if (state.get(key) === undefined) return problem(404, `there is no item ${params.id}`);
      state.delete(key);
      return new Response(null, { status: 204 });
  }
};

const read = ({ data }) => (typeof data === "object" && data !== null && !Array.isArray(data) && !(data instanceof Uint8Array) ? data : undefined);
