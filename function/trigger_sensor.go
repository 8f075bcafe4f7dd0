package function

import (
	"fmt"
	"math"
	"strconv"
)

// QualityAny has a sensor trigger start for readings that are not good, too.
const QualityAny = "any"

// ChangeBy is by how much a sensor's value must have moved; zero is not at all.
func (t *Trigger) ChangeBy() float64 {
	v, err := strconv.ParseFloat(t.Change, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
		return 0
	}
	return v
}

func (t *Trigger) validateSensor(at func(string, ...any)) {
	if !validPattern(t.Sensor) {
		at(fmt.Sprintf("%q is not a sensor's name, which * may stand in for a part of", t.Sensor), "sensor")
	}
	if t.Change != "" && t.ChangeBy() == 0 {
		at(fmt.Sprintf("%q must be a positive number: by how much the value moves, in the sensor's unit", t.Change), "change")
	}
	switch {
	case t.Hysteresis < 0:
		at("must not be negative: it is by how much the value must come back", "hysteresis")
	case t.Hysteresis != 0 && t.Above == nil && t.Below == nil:
		at("says nothing without above or below", "hysteresis")
	case t.Above != nil && t.Below != nil && *t.Below >= *t.Above:
		at(fmt.Sprintf("%v is not under above, %v: both start when the value leaves what is between them", *t.Below, *t.Above), "below")
	}
	if t.Quality != "" && t.Quality != "good" && t.Quality != QualityAny {
		at(fmt.Sprintf("%q must be good or any", t.Quality), "quality")
	}
	if t.Quality == QualityAny && (t.Change != "" || t.Above != nil || t.Below != nil) {
		at("any says nothing to change, above and below, which look at good values: remove it, or make two triggers", "quality")
	}
}

// shown is a threshold for people.
func shown(v *float64) string {
	if v == nil {
		return ""
	}
	return strconv.FormatFloat(*v, 'g', -1, 64)
}
