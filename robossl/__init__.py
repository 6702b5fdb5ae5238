"""robossl: robots that explore by themselves, learn their world without reward, and act on what they learned."""
