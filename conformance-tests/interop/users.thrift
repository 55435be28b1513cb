namespace py users
namespace go users

typedef i64 UserId
typedef list<string> Tags

const i32 FIRST_VISITS = 7

enum Plan { FREE = 1, PRO = 2, TEAM = 3 }

struct Address {
    1: required string street
    2: optional string city
    3: optional string zip
}

union Contact {
    1: string phone
    2: Address home
}

struct User {
    1: required UserId id
    2: required string email
    3: string display_name
    4: Plan plan = Plan.FREE
    5: Tags tags
    6: map<string, i64> logins_by_country
    7: optional Address address
    8: optional binary avatar
    9: bool active
    10: double score
    11: set<i32> groups
    12: i16 age
    13: byte level
    14: i32 visits = FIRST_VISITS
    15: optional Contact contact
    16: map<i32, list<set<i64>>> circles
}

struct UserRequest { 1: required UserId id }

exception UserNotFound { 1: UserId id, 2: string reason }

service Directory {
    string greet(1: UserRequest request)
    void ping()
}

service UserService extends Directory {
    User getUser(1: UserRequest request) throws (1: UserNotFound missing)
    User saveUser(1: User user)
    list<User> listUsers(1: i32 limit, 2: Plan plan)
    oneway void forget(1: UserId id)
}
