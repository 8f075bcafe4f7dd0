// Package sandbox runs functions: it turns a module or a script into a
// Module that cannot hurt the gateway (see package instrument), keeps clean
// instances of it in a Pool, and invokes them under fuel, memory, stack and
// time limits. It is the only package that knows wazero.
package sandbox
