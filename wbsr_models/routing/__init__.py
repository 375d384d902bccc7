"""Which subnet each patch gets: what is known of a network (`Profile`), and the policies that decide by it.

Nothing here knows a device. `policies.POLICIES` lists the policies, one file each; `Routing("budget", 0.6)` makes one.
"""
