package api

// Check is one thing that the doctor looked at.
type Check struct {
	Name   string `json:"name"`
	Status string `json:"status" enum:"ok,warn,fail"`
	Detail string `json:"detail"`
	Advice string `json:"advice,omitempty"`
}
