export default (event, { objects }) => {
  const a = objects.get("camera", "in/a.txt");
  const part = new TextDecoder().decode(objects.read("camera", "in/a.txt", 6, 5));
  objects.put("thumbs", "copy.txt", `copy of ${a.text()}`, { type: "text/x-copy" });
  objects.delete("camera", "in/b.bin");
  let denied = "allowed";
  try { objects.put("other", "x", "y"); } catch (e) { denied = e.code.toLowerCase(); }
  return [a.text(), part, objects.stat("camera", "in/a.txt").size, objects.get("thumbs", "copy.txt").bytes().length,
    objects.list("camera", "in/").join(","), objects.get("camera", "none") ?? "none", denied].join("|");
};
