//! Chains: lists of rules, some of which the kernel enters by itself.

/// Usual priorities of base chains. A smaller one runs earlier.
pub mod priority {
    /// Before connection tracking.
    pub const RAW: i32 = -300;
    /// After connection tracking, before destinations are rewritten.
    pub const MANGLE: i32 = -150;
    /// Destinations are rewritten.
    pub const DSTNAT: i32 = -100;
    /// Packets are filtered.
    pub const FILTER: i32 = 0;
    /// After the filter.
    pub const SECURITY: i32 = 50;
    /// Sources are rewritten.
    pub const SRCNAT: i32 = 100;
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name, unique in the table. At most 255 bytes.
    pub name: String,
    /// Where the kernel enters it; `None` for one that is only jumped to.
    pub base: Option<Base>,
    /// A comment, which `nft list` shows. At most 128 bytes.
    pub comment: Option<String>,
}

impl Chain {
    /// A chain that is only jumped to.
    #[must_use]
    pub fn regular(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            base: None,
            comment: None,
        }
    }

    /// A base chain whose policy is to accept.
    #[must_use]
    pub fn base(name: impl Into<String>, kind: ChainKind, hook: Hook, priority: i32) -> Self {
        Self {
            name: name.into(),
            base: Some(Base {
                kind,
                hook,
                priority,
                policy: Policy::Accept,
            }),
            comment: None,
        }
    }

    /// The same chain with a policy, if it is a base chain.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        if let Some(base) = &mut self.base {
            base.policy = policy;
        }
        self
    }

    /// The same chain with a comment.
    #[must_use]
    pub fn comment(mut self, text: impl Into<String>) -> Self {
        self.comment = Some(text.into());
        self
    }
}

/// Where and how the kernel enters a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// What it is for.
    pub kind: ChainKind,
    /// The point of a packet's way.
    pub hook: Hook,
    /// Its order among the chains of the hook; see [`priority`].
    pub priority: i32,
    /// What becomes of a packet that no rule decided.
    pub policy: Policy,
}

/// What a base chain is for (`type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainKind {
    /// Any decision. Sees every packet.
    Filter,
    /// Rewriting of addresses. Sees the first packet of a connection.
    Nat,
    /// Marks that change the route of the node's own packets.
    Route,
}

/// The points of a packet's way where base chains are entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// After reception, before routing.
    Prerouting,
    /// Routed to the node itself.
    Input,
    /// Routed through the node.
    Forward,
    /// Made by the node itself.
    Output,
    /// Before sending, after routing.
    Postrouting,
}

/// What becomes of a packet that no rule of a base chain decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// It goes on.
    Accept,
    /// It is dropped.
    Drop,
}
