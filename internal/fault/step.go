package fault

// Step is a place on the way of an event, just after the named thing has
// happened. A binary built with the tag seededfaults ends itself there, as if
// by SIGKILL, when HEADGATE_CRASH_AT is "step:n": at the n-th time.
type Step string

// The steps, in the order in which an event passes them.
const (
	Received     Step = "received"     // a PUBLISH is decoded and authorised
	Matched      Step = "matched"      // its functions are known
	Invoked      Step = "invoked"      // a function has run
	Sealing      Step = "sealing"      // a unit is complete, and not sealed
	Sealed       Step = "sealed"       // a unit has its place in the sequence
	Begun        Step = "begun"        // a transaction is open
	Written      Step = "written"      // its rows are written
	Committed    Step = "committed"    // it is on disk
	Reported     Step = "reported"     // the units of a group were told
	Answered     Step = "answered"     // an acknowledgement is in the publisher's buffer
	Delivered    Step = "delivered"    // a QoS 1 or 2 message is in a subscriber's buffer
	Acknowledged Step = "acknowledged" // a subscriber's PUBACK or PUBREC was taken
	Completed    Step = "completed"    // a PUBREL or PUBCOMP was taken
	Placed       Step = "placed"       // the content of an object is on disk, its row is not
	Spilled      Step = "spilled"      // an event that takes long was sealed as a row
	Retried      Step = "retried"      // a failed attempt was sealed
)

// Steps are all of them.
var Steps = [...]Step{
	Received, Matched, Invoked, Sealing, Sealed, Begun, Written, Committed, Reported, Answered, Delivered, Acknowledged,
	Completed, Placed, Spilled, Retried,
}
