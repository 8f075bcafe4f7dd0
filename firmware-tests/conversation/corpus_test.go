package conversation

// Indices into filters and topics, for scripts.
const (
	toA = iota
	toAB
	toPlus
	toAll
	toAPlus
	toABelow
	toPlusB
	_
	toShareG
	_
	toShareH
)

const (
	onA = iota
	onAB
	onABC
	onB
)

// corpus is what people would think of first. The fuzzer goes on from here.
func corpus() map[string]*script {
	return map[string]*script{
		"offline queue, then order": newScript(0).
			do(connects, 0, v5|expiry60|receive1, 0).do(subscribes, 0, toABelow, 2).do(connects, 1, v5, 0).
			do(drops, 0, 0, 0).do(publishes, 1, onA|qos2, 0).do(publishes, 1, onA|qos1, 0).do(publishes, 1, onA|qos1, expires2).
			do(waits, 0, 1, 0).do(connects, 0, v5|expiry60|receive1, 0).do(answers, 0, all, 0).do(answers, 0, all, 0).do(answers, 0, all, 0),
		"takeover with a will": newScript(0).
			do(connects, 0, 0, 0).do(subscribes, 0, toAll, 2).do(connects, 1, v5|expiry60, onB|hasWill|willQoS2|willRetain).
			do(connects, 1, 0, onB|hasWill).do(connects, 1, v5|cleanStart, 0).do(drops, 1, 0, 0),
		"a will that waits, and one that is too late": newScript(0).
			do(connects, 0, v5, 0).do(subscribes, 0, toAll, 1).
			do(connects, 1, v5|expiry60, onA|hasWill|willLater|willQoS1).do(drops, 1, 0, 0).do(waits, 0, 1, 0).
			do(connects, 1, v5|expiry5, onA|hasWill|willLater).do(waits, 0, 3, 0).do(drops, 1, 0, 0).do(waits, 0, 4, 0),
		"overlap, identifiers and options": newScript(0).
			do(connects, 0, v5|withAlias, 0).do(subscribes, 0, toABelow, 1|withID).do(subscribes, 0, toAPlus, 2|withID|asPublish).
			do(subscribes, 0, toAll, noLocal|withID).do(publishes, 0, onAB|qos2|retain, aliased).do(publishes, 0, onAB|qos1, aliased).
			burst(publishes, 0, onAB|qos1, aliased|alias2).burst(answers, 0, newest, 0).do(answers, 0, oldest, 0),
		"retained, replaced, expired and cleared": newScript(0).
			do(connects, 0, v5, 0).do(publishes, 0, onAB|qos1|retain, 0).do(publishes, 0, onAB|qos2|retain, expires2).
			do(publishes, 0, onA|retain, 0).do(connects, 1, v5|receive1, 0).do(subscribes, 1, toABelow, 2).do(waits, 0, 2, 0).
			do(subscribes, 1, toABelow, 1|onlyNew).do(subscribes, 1, toAPlus, 1).do(publishes, 0, onA|retain|empty, 0).do(subscribes, 1, toAll, 0),
		"redelivery on the same and the next connection": newScript(0).
			do(connects, 0, 0, 0).do(connects, 1, v5|expiry60, 0).do(subscribes, 0, toABelow, 2).
			do(publishes, 1, onA|qos2, 0).do(redelivers, 1, 0, 0).do(publishes, 1, onA|qos1, 0).do(drops, 1, 1, 0).
			do(connects, 1, v5|expiry60, 0).do(redelivers, 1, 1, 0).do(redelivers, 1, 0, 0).do(releases, 1, 0, 0),
		"shared, and one of them goes": newScript(0).
			do(connects, 0, v5, 0).do(subscribes, 0, toShareG, 1).do(connects, 1, v5|expiry60|receive1, 0).do(subscribes, 1, toShareG, 2).
			do(connects, 2, 0, 0).do(subscribes, 2, toShareH, 1).do(publishes, 2, onA|qos1, 0).do(publishes, 2, onABC|qos2, 0).
			do(publishes, 2, onAB|qos1, 0).do(publishes, 2, onAB, 0).do(leaves, 0, 0, 0).do(drops, 1, 0, 0).do(publishes, 2, onAB|qos1, 0),
		"a hole behind a short window": newScript(0).
			do(connects, 0, v5|expiry60, 0).do(subscribes, 0, toA, 1).do(connects, 1, 0, 0).do(publishes, 1, onA|qos1, 0).
			do(publishes, 1, onA|qos1, 0).do(answers, 0, newest, 0).do(publishes, 1, onA|qos1, 0).do(drops, 0, 0, 0).
			do(connects, 0, v5|expiry60|receive1, 0).do(answers, 0, oldest, 0),
		"shared, expired and handed on": newScript(0).
			do(connects, 0, v5|expiry5, 0).do(subscribes, 0, toShareG, 1).do(connects, 1, v5, 0).do(publishes, 1, onA|qos1, expires2).
			do(subscribes, 1, toShareG, 1).do(waits, 0, 1, 0).do(leaves, 0, 2, 0),
		"a will across two restarts": newScript(3|4).
			do(connects, 0, v5|expiry5, onB|hasWill|willLater|willRetain).do(restarts, 0, 1, 0).do(waits, 0, 0, 0).
			do(restarts, 0, 0, 0).do(waits, 0, 7, 0),
		"nonsense": newScript(0).
			do(connects, 0, v5, onA|hasWill).do(connects, 1, 0, 0).do(subscribes, 1, toA, 1).do(babbles, 0, 1, 0).do(connects, 0, 0, 0).do(babbles, 0, 2, 0),
		"closed and killed": newScript(3|4).
			do(connects, 0, v5|expiryEver|receive2, onB|hasWill|willQoS1).do(subscribes, 0, toAll, 2).do(connects, 1, 0, 0).
			do(publishes, 1, onA|qos2|retain, 0).do(publishes, 1, onAB|qos1, 0).do(answers, 0, oldest, 0).do(restarts, 0, 1, 0).
			do(connects, 1, 0, 0).do(redelivers, 1, 0, 0).do(connects, 0, v5|expiryEver|receive1, 0).do(answers, 0, all, 0).
			do(restarts, 0, 0, 0).do(connects, 0, 0, 0).do(answers, 0, all, 0).do(restarts, 0, 1, 0).do(connects, 1, 0, 0).do(releases, 1, 0, 0),
	}
}
