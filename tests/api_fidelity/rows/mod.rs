//! The rows, as data.

mod causes;
mod objects;
mod patches;
mod protocol;
mod services;
mod watches;

pub(crate) const JSON: &str = "application/json";
pub(crate) const MERGE: &str = "application/merge-patch+json";
pub(crate) const STRATEGIC: &str = "application/strategic-merge-patch+json";
pub(crate) const JSON_PATCH: &str = "application/json-patch+json";
pub(crate) const APPLY: &str = "application/apply-patch+yaml";

pub(crate) const SERVICES: &str = "/api/v1/namespaces/$NS/services";
pub(crate) const WEB: &str = "/api/v1/namespaces/$NS/services/web";
pub(crate) const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/$NS/endpointslices";
pub(crate) const CONFIG_MAPS: &str = "/api/v1/namespaces/$NS/configmaps";
pub(crate) const PODS: &str = "/api/v1/namespaces/$NS/pods";
pub(crate) const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/$NS/leases";

/// One request. `$NS` is the row's namespace; `$RV` and `$UID` are those of the last object that was answered, and
/// `$RV:name` the version of the answer that [`Row::keep`] named.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) content_type: &'static str,
    pub(crate) accept: &'static str,
    pub(crate) body: String,
    /// Under which name the version of the answer is kept.
    pub(crate) keep: Option<&'static str>,
}

impl Step {
    pub(crate) fn new(
        method: &'static str,
        path: &str,
        content_type: &'static str,
        body: &str,
    ) -> Self {
        Self {
            method,
            path: path.into(),
            content_type,
            accept: JSON,
            body: body.into(),
            keep: None,
        }
    }
}

/// A difference that is accepted, and its reason.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Known {
    /// Only messages differ: code, reason, and the fields and reasons of causes are still compared.
    InWords(&'static str),
    /// The last answer differs; the real server's has this code and reason, the embedded server's that of the row.
    Answer {
        why: &'static str,
        code: u16,
        reason: &'static str,
    },
}

/// Requests, and what the last one is answered with.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) steps: Vec<Step>,
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
    /// How and why the embedded server answers otherwise than the real one.
    pub(crate) known_difference: Option<Known>,
}

impl Row {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            steps: Vec::new(),
            code: 200,
            reason: "",
            known_difference: None,
        }
    }

    fn step(
        mut self,
        method: &'static str,
        path: &str,
        content_type: &'static str,
        body: &str,
    ) -> Self {
        self.steps.push(Step::new(method, path, content_type, body));
        self
    }

    pub(crate) fn get(self, path: &str) -> Self {
        self.step("GET", path, "", "")
    }

    pub(crate) fn get_as(mut self, path: &str, accept: &'static str) -> Self {
        self.steps.push(Step {
            accept,
            ..Step::new("GET", path, "", "")
        });
        self
    }

    pub(crate) fn post(self, path: &str, body: &str) -> Self {
        self.step("POST", path, JSON, body)
    }

    pub(crate) fn send(
        self,
        method: &'static str,
        path: &str,
        content_type: &'static str,
        body: &str,
    ) -> Self {
        self.step(method, path, content_type, body)
    }

    pub(crate) fn put(self, path: &str, body: &str) -> Self {
        self.step("PUT", path, JSON, body)
    }

    pub(crate) fn patch(self, path: &str, content_type: &'static str, body: &str) -> Self {
        self.step("PATCH", path, content_type, body)
    }

    pub(crate) fn delete(self, path: &str, body: &str) -> Self {
        self.step("DELETE", path, JSON, body)
    }

    /// Creates the Service `web` with this spec.
    pub(crate) fn web(self, spec: &str) -> Self {
        self.post(SERVICES, &web(spec))
    }

    /// Replaces the Service `web`.
    pub(crate) fn put_web(self, spec: &str) -> Self {
        self.put(WEB, &web(spec))
    }

    pub(crate) fn answers(mut self, code: u16, reason: &'static str) -> Self {
        (self.code, self.reason) = (code, reason);
        self
    }

    /// The real server's last answer is another one.
    pub(crate) fn differs(mut self, code: u16, reason: &'static str, why: &'static str) -> Self {
        self.known_difference = Some(Known::Answer { why, code, reason });
        self
    }

    /// Keeps the version of the last step's answer as `$RV:name`.
    pub(crate) fn keep(mut self, name: &'static str) -> Self {
        if let Some(step) = self.steps.last_mut() {
            step.keep = Some(name);
        }
        self
    }

    pub(crate) fn differs_in_words(mut self, why: &'static str) -> Self {
        self.known_difference = Some(Known::InWords(why));
        self
    }
}

/// A Service named `web`.
pub(crate) fn web(spec: &str) -> String {
    format!(r#"{{"apiVersion":"v1","kind":"Service","metadata":{{"name":"web"}},"spec":{spec}}}"#)
}

/// A ConfigMap with a label `app`.
pub(crate) fn map(name: &str, label: &str) -> String {
    format!(r#"{{"metadata":{{"name":"{name}","labels":{{"app":"{label}"}}}}}}"#)
}

/// Two of them, of which the first is `app=x` and the second `app=y`.
pub(crate) fn two_maps(name: &'static str) -> Row {
    Row::new(name)
        .post(CONFIG_MAPS, &map("a", "x"))
        .post(CONFIG_MAPS, &map("b", "y"))
}

/// The fields that the answer to a row names, where it is a refusal that names any.
pub(crate) fn causes(row: &Row) -> Option<&'static [&'static str]> {
    causes::CAUSES
        .iter()
        .find(|(name, _)| *name == row.name)
        .map(|(_, fields)| *fields)
}

/// Every row.
pub(crate) fn all() -> Vec<Row> {
    [
        services::rows(),
        patches::rows(),
        objects::rows(),
        protocol::rows(),
        watches::rows(),
    ]
    .concat()
}
