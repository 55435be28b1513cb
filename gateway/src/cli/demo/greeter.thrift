struct Greeting { 1: required string name, 2: optional string language }

service Greeter {
    string hello(1: Greeting greeting)
}
