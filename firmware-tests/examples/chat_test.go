//go:build e2e

package examples

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

func TestChat(t *testing.T) {
	model := newModel(t)
	example{
		folder:  "chat",
		devices: map[string]device{"room": {subscribe: []string{"chat/+/reply"}}},
		scopes:  []string{"call:chat"},
		secrets: map[string]map[string]string{"chat": {"service_key": "abc"}, "again": {"service_key": "abc"}},
		edit: map[string]string{
			"http://127.0.0.1:11434": model.server.URL,
			"timeout: 8s":            "timeout: 500ms",
			"again: 30s":             "again: 1s",
			"backoff: 10s":           "backoff: 500ms",
		},
		check: func(ctx context.Context, s *site) error {
			model.become("well")
			return checkChat(ctx, s, model)
		},
		without: map[string]string{
			"chat":  "ada says: answered 404",
			"again": "while the service is ill",
		},
	}.run(t)
}

// model is a language service. What it says depends on all that it is told.
type model struct {
	server *httptest.Server

	mu     sync.Mutex
	health string
	asked  int
}

type said struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// thought is the service's answer to a conversation.
func thought(talk []said) string {
	text, err := json.Marshal(talk)
	if err != nil {
		panic(err) // strings only
	}
	return fmt.Sprintf("I heard %d things: %08x", len(talk), crc32.ChecksumIEEE(text))
}

func newModel(t *testing.T) *model {
	m := &model{}
	m.server = httptest.NewServer(http.HandlerFunc(m.complete))
	t.Cleanup(m.server.Close)
	return m
}

func (m *model) become(health string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.health = health
}

func (m *model) questions() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked
}

func (m *model) complete(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	m.asked++
	health := m.health
	m.mu.Unlock()
	var question struct {
		Model    string
		Messages []said
	}
	if err := json.NewDecoder(r.Body).Decode(&question); err != nil || r.Method+" "+r.URL.Path != "POST /v1/chat/completions" || question.Model == "" {
		http.Error(w, "not a question", http.StatusBadRequest)
		return
	}
	switch {
	case r.Header.Get("Authorization") != "Bearer abc":
		http.Error(w, "who are you", http.StatusUnauthorized)
	case health == "ill":
		http.Error(w, "out of memory", http.StatusInternalServerError)
	case health == "slow":
		<-r.Context().Done()
	case health == "odd":
		fmt.Fprint(w, `{"choices":[]}`)
	default:
		w.Header().Set("Content-Type", "application/json")
		answer := map[string]any{"choices": []any{map[string]any{"message": said{"assistant", thought(question.Messages)}}}}
		_ = json.NewEncoder(w).Encode(answer)
	}
}

func checkChat(ctx context.Context, s *site, m *model) error {
	room, err := s.listen(ctx, "room")
	if err != nil {
		return err
	}
	defer room.Close()
	talks := map[string][]said{}
	for turn := range 8 { // it remembers five
		for _, user := range []string{"ada", "bob.b-2"} {
			if err := s.says(ctx, talks, user, fmt.Sprintf("%d: wie geht's?", turn)); err != nil {
				return err
			}
		}
	}
	a, err := s.call(ctx, "/chat/ada", "-X", "DELETE")
	if err == nil {
		err = a.demand("forget ada", 204, nil)
	}
	if err != nil {
		return err
	}
	delete(talks, "ada")
	if err := s.says(ctx, talks, "ada", "who am I?"); err != nil {
		return err
	}
	for _, bad := range []string{"hello", `{"user":"a/b","text":"hi"}`, `{"user":"ada"}`, "[]", "null"} {
		a, err := s.call(ctx, "/chat", "-d", bad)
		if err == nil {
			err = a.demand("what is no question", 400, nil)
		}
		if err != nil {
			return err
		}
	}
	for _, health := range []string{"ill", "slow", "odd"} {
		if err := s.later(ctx, m, room, talks, health); err != nil {
			return err
		}
	}
	s.say("2 users, 20 questions, 3 of them to a service that was ill, slow or odd: asked %d times", m.questions())
	return nil
}

// says asks, and expects the answer that follows from the conversation so far.
func (s *site) says(ctx context.Context, talks map[string][]said, user, text string) error {
	body, err := json.Marshal(map[string]string{"user": user, "text": text})
	if err != nil {
		return err
	}
	a, err := s.call(ctx, "/chat", "-d", string(body))
	if err != nil {
		return err
	}
	return a.demand(user+" says", 200, map[string]string{"reply": hear(talks, user, text)})
}

// hear adds a question and its answer to what a user's talk remembers.
func hear(talks map[string][]said, user, text string) (answer string) {
	question := said{"user", text}
	told := append([]said{{"system", "You help growers. Answer in one sentence."}}, talks[user]...)
	answer = thought(append(told, question))
	talk := append(talks[user], question, said{"assistant", answer})
	talks[user] = talk[max(0, len(talk)-10):]
	return answer
}

// later asks while the service does not answer: there is a polite reply at
// once, and the answer when it is well again.
func (s *site) later(ctx context.Context, m *model, room *listener, talks map[string][]said, health string) error {
	m.become(health)
	text := "are you " + health + "?"
	body, err := json.Marshal(map[string]string{"user": "ada", "text": text})
	if err != nil {
		return err
	}
	a, err := s.call(ctx, "/chat", "-d", string(body))
	if err != nil {
		return err
	}
	polite := map[string]any{"reply": "I cannot think just now. I will come back to you.", "later": true}
	if err := a.demand("while the service is "+health, 200, polite); err != nil {
		return err
	}
	came := len(room.on("chat/ada/reply"))
	m.become("well")
	want := map[string]string{"text": text, "reply": hear(talks, "ada", text)}
	return s.until(ctx, func() error {
		replies := room.on("chat/ada/reply")
		if len(replies) != came+1 {
			return fmt.Errorf("chat/ada/reply: %d messages came, want %d", len(replies), came+1)
		}
		return sameJSON("chat/ada/reply", []byte(replies[came]), want)
	})
}
