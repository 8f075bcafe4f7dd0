/** Whether it can be a level of a topic, and a part of a key. */
export const isUser = (user) => typeof user === "string" && /^[\w.-]{1,64}$/.test(user);

/**
 * Asks the language service, which speaks the API that OpenAI's, llama.cpp's
 * and Ollama's have in common, and remembers question and answer. It throws
 * when there is no answer, and then remembers nothing.
 */
export async function ask(user, text, { state, config, secret }) {
  const key = `chat:talk/${user}`; // both functions keep it with chat
  const talk = state.get(key) ?? [];
  const question = { role: "user", content: text };
  const response = await fetch(`${config.service}/v1/chat/completions`, {
    method: "POST",
    headers: { Authorization: `Bearer ${secret("service_key")}`, "Content-Type": "application/json" },
    body: JSON.stringify({
      model: config.model,
      messages: [{ role: "system", content: config.instructions }, ...talk, question],
    }),
    timeout: config.timeout,
  });
  if (!response.ok) throw new Error(`it answered ${response.status}`);
  const reply = (await response.json()).choices?.[0]?.message?.content;
  if (typeof reply !== "string" || reply === "") throw new Error("its answer holds no message");
  talk.push(question, { role: "assistant", content: reply });
  state.set(key, talk.slice(-2 * config.turns), { ttl: config.forget });
  return reply;
}
