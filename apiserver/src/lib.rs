//! The embedded Kubernetes API that onehop's lab serves to a Service proxy.
