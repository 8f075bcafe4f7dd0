package config

import (
	"fmt"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/template"
	"github.com/headgate-io/headgate/sensors/remote"
)

func (a *Actuator) device() template.Device {
	return template.Device{Template: a.Template, Name: a.Device, Base: a.Base, Field: a.Field}
}

// expandTemplate puts in what the template stands for.
func (a *Actuator) expandTemplate() {
	if a.Template == "" || a.MQTT != nil {
		return
	}
	t, err := a.device().Actuator()
	if err != nil {
		return // see validateActuatorTemplate
	}
	a.MQTT = &MQTTActuator{
		Set: t.Set, On: t.On, Off: t.Off, State: t.State, Field: t.Field, StateOn: t.StateOn, ConfirmWithin: function.Duration(t.ConfirmWithin),
	}
}

// validateActuatorTemplate reports whether the rest of the actuator can be
// looked at.
func (c *Config) validateActuatorTemplate(name string, at func(string, ...any)) bool {
	a := c.Actuators[name] // as it was written
	if a.Template == "" {
		for field, v := range map[string]string{"device": a.Device, "field": a.Field, "base": a.Base} {
			if v != "" {
				at(fmt.Sprintf("is for a template: %s", template.Names), field)
			}
		}
		return true
	}
	t, err := a.device().Actuator()
	switch {
	case err != nil:
		at(err.Error(), "template")
		return false
	case a.MQTT != nil:
		at("is what the template stands for: leave one of both out", "mqtt")
	case a.MaxOn.Std() > t.MaxOn:
		at(fmt.Sprintf("%v is longer than the device can count, %v", a.MaxOn, function.Duration(t.MaxOn)), "max_on")
	}
	return true
}

// device is what the sensor's template is about.
func (s *Sensor) device() template.Device {
	return template.Device{Template: s.Template, Name: s.Device, Base: s.Base, Field: s.Field}
}

// templated is the sensor that the template stands for.
func (s *Sensor) templated() *remote.MQTT {
	t, err := s.device().Sensor()
	if err != nil {
		return &remote.MQTT{} // see validateTemplate
	}
	return &remote.MQTT{
		Topic: t.Topic, Selection: remote.Selection{Field: t.Field}, Availability: remote.Availability{Topic: t.Availability, Offline: t.Offline},
	}
}

// validateTemplate reports whether the rest of the sensor can be looked at.
func (s *Sensor) validateTemplate(at func(string, ...any)) bool {
	if s.Template == "" {
		for field, v := range map[string]string{"device": s.Device, "field": s.Field, "base": s.Base} {
			if v != "" {
				at(fmt.Sprintf("is for a template: %s", template.Names), field)
			}
		}
		return true
	}
	if _, err := s.device().Sensor(); err != nil {
		at(err.Error(), "template")
		return false
	}
	return true
}
