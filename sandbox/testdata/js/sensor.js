export default (event, { sensor }) => {
  const code = (f) => {
    try {
      return f() === undefined ? "NOT_FOUND" : "?";
    } catch (e) {
      return e.code;
    }
  };
  const soil = sensor("soil-1", { maxAge: "1m" }), bad = sensor("soil-bad");
  if (bad.value !== undefined || bad.quality !== "bad" || bad.last !== 3) throw new Error(JSON.stringify(bad));
  return [soil.value, code(() => sensor("soil-old", { maxAge: "30s" })), code(() => sensor("soil-bad", { maxAge: "1h" })),
    code(() => sensor("soil-none")), code(() => sensor("air"))].join(" ");
};
