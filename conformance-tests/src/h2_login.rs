//! What a login service of H2 has signed, for tests of who believes it.

/// The login service's public key.
pub const KEY: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCxReZ1mcF49WRJFMXXN+ANP2+w
9JsTMR+s7kjTEx6gQpA5RgWSt+aIxso+YJT9lXU9NspqLrIJW57cT0dCZixklmlB
SJbv+vQuOvZtA7AoG0vrtZ5tuoWXWYzrl8AoVtgKYSQQnJICEGVuvWFbBg/hc0u5
PtlNil+nbgtBOAzW0QIDAQAB
-----END PUBLIC KEY-----
";
/// A token: dave is an ADMIN until 2100.
pub const DAVE: &str = "am=admin:d=cli:id=dave:ct=1372942090:et=4102444800:rt=:r=ADMIN,DRIVER.EU:sig=\
    YHMAEC7LSkgnY7xskWX5zuBhmgdcz6UIWl3VW1M/wPNy06JMk3U/RgNFILj1pW/ldO628Ssxj+jw6TKqtNn4GcdiQLxD\
    WDVR0vHnaQgbkYQ9Aa4sV74I9IPFtHLOjbxxfy7YoBYW+jgiCbvkTH9FDN23CSOJo0JqSVxEgFCIn6A=";
/// A token of eve, whose session ended in 2013.
pub const EVE: &str = "am=admin:d=cli:id=eve:ct=1372942090:et=1372970890:rt=:r=ADMIN:sig=pmPt0YYDcgKi5\
    1wHkioIAIfW6y+FdPYgZEIybgFieYdOZ3FI3uJT3nPIhFCGrWYO4SrnmRsYyNG/HbSK8sAJFVGUKtUTTXyH/F7lyXoV51\
    NGrn/FxtDnA1KLk3jZmU4YywScx7k/FHk/VIc2h4tY3IY4lgd7rZo+sj7T/Zm94Dk=";
