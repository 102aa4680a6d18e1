"""What runs in the JVM inside this process: Pinot's segment library."""
