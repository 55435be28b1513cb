namespace go users

enum Role { MEMBER = 1, ADMIN = 2 }

struct Address {
    1: required string street
    2: optional string city
}

struct User {
    1: required i64 id
    2: required string name
    3: Role role = Role.MEMBER
    4: list<string> tags
    5: map<string, i32> scores
    6: optional Address address
    7: optional binary avatar
}

struct GetUser { 1: required i64 id }

exception UserNotFound { 1: i64 id, 2: string reason }

service UserService {
    User getUser(1: GetUser request) throws (1: UserNotFound missing)
    User putUser(1: User user)
    i32 countUsers()
}
