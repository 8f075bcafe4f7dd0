/** @type {import("./headgate").Handler} */
export default (event) => {
  const name = event.request.query.name ?? event.data?.name ?? "World";
  return Response.json({ message: `Hello, ${name}!` });
};
