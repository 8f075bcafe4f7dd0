// Fetches as the other languages' fetch guests do.
export default async () => {
  const r = await fetch('https://api.example.org/v1?q="1"', { method: "POST", headers: { accept: "text/plain" }, body: "hi\nthere" });
  return `${r.status} ${r.headers.get("Content-Type")} ${(await r.text()).length}`;
};
