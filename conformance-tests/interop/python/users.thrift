namespace py users

enum Plan { FREE = 1, PRO = 2, TEAM = 3 }

struct Address {
    1: required string street
    2: optional string city
    3: optional string zip
}

struct User {
    1: required i64 id
    2: required string email
    3: string display_name
    4: Plan plan = Plan.FREE
    5: list<string> tags
    6: map<string, i64> logins_by_country
    7: optional Address address
    8: optional binary avatar
    9: bool active
    10: double score
    11: set<i32> groups
    12: i16 age
    13: byte level
}

struct UserRequest { 1: required i64 id }

exception UserNotFound { 1: i64 id, 2: string reason }

service UserService {
    User getUser(1: UserRequest request) throws (1: UserNotFound missing)
    User saveUser(1: User user)
    list<User> listUsers(1: i32 limit, 2: Plan plan)
    string greet(1: UserRequest request)
    void ping()
    oneway void forget(1: i64 id)
}
