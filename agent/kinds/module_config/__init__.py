"""ModuleConfig: settings of the fleet."""
