-- +goose Up
-- Gateways that take no binary from the controller: what they say of it, and how
-- many of them a deployment of the binary would choose.
ALTER TABLE gateway_status ADD COLUMN fixed TEXT NOT NULL DEFAULT '';
ALTER TABLE deployment ADD COLUMN exempt INTEGER NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE deployment DROP COLUMN exempt;
ALTER TABLE gateway_status DROP COLUMN fixed;
