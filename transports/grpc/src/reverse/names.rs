//! Which service a path means. Services in the field are called anything, so
//! full names are tried first, then parts of them.

use std::iter::{once, successors};

use registry_api::ServiceName;

/// The method path of a call, `/pkg.Service/Method`, in its parts.
pub(crate) fn split(path: &str) -> Option<(&str, &str)> {
    let (service, method) = path.strip_prefix('/')?.rsplit_once('/')?;
    (!service.is_empty() && !method.is_empty()).then_some((service, method))
}

/// The most names that one path may mean.
const MOST: usize = 8;

/// The names that `pkg.sub.Service` may be registered under, best first: itself,
/// its last part, and what stands before each dot, longest first.
pub(crate) fn candidates(service: &str) -> impl Iterator<Item = ServiceName> + '_ {
    let last = service.rsplit_once('.').map(|(_, last)| last);
    // The first of these would be the full name, which goes in front of all.
    let shorter = successors(Some(service), |name| Some(name.rsplit_once('.')?.0)).skip(1);
    let names = once(service).chain(last).chain(shorter);
    names.take(MOST).filter_map(|name| ServiceName::parse(name).ok())
}

/// How a service says in a call's method which of its interfaces is meant: a
/// name that is not the service's own comes with the method.
pub(crate) fn method_of<'a>(service: &ServiceName, interface: &str, path: &'a str) -> &'a str {
    match interface == service.as_str() {
        true => &path[interface.len() + 2..],
        false => &path[1..],
    }
}

/// The path of a method of a service: the other way round.
pub(crate) fn path_of(service: &ServiceName, method: &str) -> String {
    match method.contains('/') {
        true => format!("/{method}"),
        false => format!("/{service}/{method}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_names_go_before_parts() {
        let names = |name| candidates(name).map(|name| name.to_string()).collect::<Vec<_>>();
        assert_eq!(names("a.b.C"), ["a.b.C", "C", "a.b", "a"]);
        assert_eq!(names("Echo"), ["Echo"]);
        assert_eq!(
            names("LicenseManagementService.license_management")[2],
            "LicenseManagementService"
        );
        assert_eq!(candidates(&"a.b.".repeat(50)[..199]).count(), MOST);
        assert_eq!(split("/a.b.C/M"), Some(("a.b.C", "M")));
        assert_eq!(split("/a"), None);
        assert_eq!(split("a/b"), None);
        assert_eq!(split("//M"), None);
    }

    #[test]
    fn the_path_survives_the_name_it_is_registered_under() {
        for (service, path, method) in
            [("a.b.C", "/a.b.C/M", "M"), ("a", "/a.b.C/M", "a.b.C/M"), ("C", "/a.b.C/M", "a.b.C/M")]
        {
            let service = ServiceName::parse(service).unwrap();
            let (interface, _) = split(path).unwrap();
            assert_eq!(method_of(&service, interface, path), method);
            assert_eq!(path_of(&service, method), path);
        }
    }
}
