// Package ota will bring function updates to the gateway: fetch, verify, stage,
// trial, activate or roll back.
package ota
