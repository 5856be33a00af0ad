// Package netcfg brings one node's kernel into the wanted state: a static IP on the primary
// interface, and rules that translate between it and the primary IP.
//
//	     outside the VPC                the node's link                 the node
//	a firewall sees 10.0.1.20 <-- SNAT -- 10.0.1.5/24 <-- a socket, or a container
//	a client calls  10.0.1.20 --- /32 --> 10.0.1.20/32 -- DNAT --> a service bound to 10.0.1.5
//
// Everything goes the same way: Desired (pure, from Config) and Observed (read from the kernel on
// every run, never remembered) are compared by Plan (pure), the printable Changes are applied, and
// Ensure then verifies that the difference is empty. See Config.Desired for the rules.
//
// Three backends hold the rules, with the same behaviour: a native nf_tables table, and the
// iptables program in its legacy or its nft variant, each written by one atomic transaction. By
// itself the program takes the native table, because only there the static IP comes before the
// translations of others, whoever programs first. Rules that an earlier choice left in another
// backend are noticed and removed.
//
// What the rules do:
//   - Only the first packet of a connection is translated. Connections that exist when the rules
//     come live on as they are; see settle for protocols that do not mark their first packet. Those
//     that are translated to or from an address that is given up end: their conntrack entries are
//     deleted.
//   - They turn conntrack on for all of the node's traffic.
//
// What the rules do not do:
//   - a second interface is never touched, and nothing that leaves by it is translated;
//   - the legacy nat table, once a program has asked for it, stays registered (and empty) until the
//     kernel module is unloaded.
package netcfg
