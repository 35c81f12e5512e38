//! Worlds, providers, probes, journeys, the load balancer, and verdicts.
