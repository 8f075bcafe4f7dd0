package admin

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

func (s *Server) devices(a huma.API) {
	huma.Register(a, op("list-devices", http.MethodGet, "/v1/devices", "List the devices"),
		func(ctx context.Context, _ *struct{}) (*body[[]api.Device], error) {
			return answer(s.deps.Devices.List(ctx))
		})
	huma.Register(a, op("add-device", http.MethodPost, "/v1/devices", "Add a device; its password is shown this once"),
		func(ctx context.Context, in *struct{ Body api.NewDevice }) (*body[api.DeviceSecret], error) {
			return answer(s.deps.Devices.Add(ctx, in.Body))
		})
	huma.Register(a, op("rotate-device", http.MethodPost, "/v1/devices/{name}/rotate", "Give a device a new password and disconnect it"),
		func(ctx context.Context, in *DeviceName) (*body[api.DeviceSecret], error) {
			return answer(s.deps.Devices.Rotate(ctx, in.Name))
		})
	huma.Register(a, op("revoke-device", http.MethodPost, "/v1/devices/{name}/revoke", "Keep a device out and disconnect it"),
		func(ctx context.Context, in *DeviceName) (*none, error) {
			return done(s.deps.Devices.Revoke(ctx, in.Name))
		})
	huma.Register(a, op("restore-device", http.MethodPost, "/v1/devices/{name}/restore", "Let a device in again that was revoked"),
		func(ctx context.Context, in *DeviceName) (*none, error) {
			return done(s.deps.Devices.Restore(ctx, in.Name))
		})
	huma.Register(a, op("remove-device", http.MethodDelete, "/v1/devices/{name}", "Remove a device and disconnect it"),
		func(ctx context.Context, in *DeviceName) (*none, error) {
			return done(s.deps.Devices.Remove(ctx, in.Name))
		})
}
