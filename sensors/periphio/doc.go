// Package periphio will hold the drivers of real pins and buses, one file a
// sensor; it is the only importer of periph's host packages.
package periphio
