//! Who may call an endpoint.

use super::session::User;

/// Who may call an endpoint. Facts: HailoOSS `platform` at 39e911a, `server/auth.go`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// Everybody. Sessions are not looked at.
    Open,
    /// Whoever has a session.
    SignedIn,
    /// Whoever has one of these roles; a service that says it may, where it is
    /// believed.
    Roles(Vec<String>),
    /// Whoever has a session and one of these roles.
    SignedInRoles(Vec<String>),
}

/// What a rule finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Allowed,
    /// The role is missing.
    BadRole,
    /// The session is missing.
    NotSignedIn,
}

impl Default for Rule {
    /// The role `ADMIN`.
    fn default() -> Self {
        Self::Roles(vec!["ADMIN".to_owned()])
    }
}

impl Rule {
    /// By whose session it is, and whether its sender says that it may and is believed.
    pub(super) fn judge(&self, user: Option<&User>, is_trusted: bool) -> Verdict {
        let has = |roles: &[String]| {
            user.is_some_and(|user| roles.iter().any(|role| user.has_role(role)))
        };
        match self {
            Self::Open => Verdict::Allowed,
            Self::SignedIn | Self::SignedInRoles(_) if user.is_none() => Verdict::NotSignedIn,
            Self::SignedIn => Verdict::Allowed,
            Self::SignedInRoles(roles) if has(roles) => Verdict::Allowed,
            // Who has a session is judged by that.
            Self::Roles(roles) if has(roles) || (user.is_none() && is_trusted) => Verdict::Allowed,
            Self::Roles(_) | Self::SignedInRoles(_) => Verdict::BadRole,
        }
    }
}

/// Whether somebody with the role `held` has the role `asked`: roles are dotted, `FOO`
/// has `FOO.BAR` too, `*` is any part and `**` any parts.
pub(super) fn grants(held: &str, asked: &str) -> bool {
    let held: Vec<_> = held.split('.').collect();
    if matches(&[&held[..], &["**"]].concat(), &asked.split('.').collect::<Vec<_>>()) {
        return true;
    }
    // An old way to ask: `FOO.*` is had by `FOO` and by `FOO.BAR`, and no deeper.
    let Some(asked) = asked.strip_suffix(".*") else { return false };
    let asked: Vec<_> = asked.split('.').collect();
    held == asked || (held.len() == asked.len() + 1 && held.starts_with(&asked))
}

fn matches(pattern: &[&str], text: &[&str]) -> bool {
    match (pattern, text) {
        ([], text) => text.is_empty(),
        (["**", rest @ ..], text) => (0..=text.len()).any(|n| matches(rest, &text[n..])),
        ([part, rest @ ..], [first, text @ ..]) => is_like(part, first) && matches(rest, text),
        (_, []) => false,
    }
}

/// One part, in which a `*` is anything.
fn is_like(pattern: &str, text: &str) -> bool {
    let Some((front, back)) = pattern.split_once('*') else { return pattern == text };
    let Some(rest) = text.strip_prefix(front) else { return false };
    (0..=rest.len()).filter_map(|n| rest.get(n..)).any(|rest| is_like(back, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(roles: &[&str]) -> User {
        User::new("dave", roles.iter().map(|&role| role.to_owned()).collect())
    }

    #[test]
    fn roles_are_dotted() {
        for (held, asked) in [
            ("ADMIN", "ADMIN"),
            ("FOO", "FOO.BAR.BAZ"),
            ("FOO.*", "FOO.BAR"),
            ("FOO.*.BAZ", "FOO.BAR.BAZ"),
            ("**", "FOO.BAR"),
            ("FO*", "FOO.BAR"),
            ("FOO", "FOO.*"),
            ("FOO.BAR", "FOO.*"),
        ] {
            assert!(grants(held, asked), "{held} has {asked}");
        }
        for (held, asked) in [
            ("ADMIN", "ADMINS"),
            ("FOO.BAR", "FOO"),
            ("", "ADMIN"),
            ("FOO.BAR.BAZ", "FOO.*"),
            ("FOO.*", "FOO"),
            ("admin", "ADMIN"),
        ] {
            assert!(!grants(held, asked), "{held} has not {asked}");
        }
    }

    #[test]
    fn sessions_go_before_what_a_sender_says() {
        let admin = Rule::default();
        assert_eq!(admin.judge(None, false), Verdict::BadRole);
        assert_eq!(admin.judge(None, true), Verdict::Allowed);
        assert_eq!(admin.judge(Some(&user(&["ADMIN"])), false), Verdict::Allowed);
        assert_eq!(admin.judge(Some(&user(&["DRIVER"])), true), Verdict::BadRole);
        assert_eq!(Rule::Open.judge(None, false), Verdict::Allowed);
        assert_eq!(Rule::SignedIn.judge(None, true), Verdict::NotSignedIn);
        assert_eq!(Rule::SignedIn.judge(Some(&user(&[])), false), Verdict::Allowed);
        let both = Rule::SignedInRoles(vec!["A".to_owned(), "B".to_owned()]);
        assert_eq!(both.judge(None, true), Verdict::NotSignedIn);
        assert_eq!(both.judge(Some(&user(&["B"])), false), Verdict::Allowed);
        assert_eq!(both.judge(Some(&user(&["C"])), false), Verdict::BadRole);
    }
}
