"""Stage `compare`: does a training follow a reference curve?"""
